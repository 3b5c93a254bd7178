# Claims about the store that a reading of its code put in doubt.
dv_unit_test(store_review MODULES store SOURCES ${simfs})
# Extended attributes.
dv_unit_test(attrs MODULES store SOURCES ${simfs})
