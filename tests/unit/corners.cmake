# What everyday use of the store does not reach.
dv_unit_test(store_corners MODULES store SOURCES ${simfs})
# Extended attributes.
dv_unit_test(attrs MODULES store SOURCES ${simfs})
