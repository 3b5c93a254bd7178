# The store over the kernel.
dv_unit_test(store MODULES store)
