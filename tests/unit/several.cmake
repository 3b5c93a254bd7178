# Several mounts of one store.
dv_unit_test(several MODULES store SOURCES support/simfs.c)
