# Several mounts of one store.
dv_unit_test(several MODULES store SOURCES ${simfs})
dv_unit_test(hosts MODULES store SOURCES ${simfs})
