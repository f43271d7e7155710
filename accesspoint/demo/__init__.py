"""The main job, on one machine: two organisations, the EHMI network in miniature, one test result, every step verified."""
