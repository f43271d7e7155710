"""Finding the receiver's access point: name server, metadata publisher, configured partners, and a cache.

`directory` says what is asked and answered. `dynamic` asks the SML (`sml`) and the SMP (`smp`);
`static` knows configured partners; `cache` remembers. Connections go where `accesspoint.networks` allows.
"""
