"""What is installed beside our own code: which names, from which versions on, with which native code, and what is built."""
