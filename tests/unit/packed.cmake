# The pure modules that packed values are made of, and the cache above them.
dv_unit_test(format MODULES format)
dv_unit_test(codec MODULES codec)
dv_unit_test(cache MODULES cache)
