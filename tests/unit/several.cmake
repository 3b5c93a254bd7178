# Several mounts of one store.
dv_unit_test(several MODULES store SOURCES support/simfs.c)
dv_unit_test(hosts MODULES store SOURCES support/simfs.c)
