# The store over the kernel.
dv_unit_test(order MODULES order)
dv_unit_test(store MODULES store)
dv_unit_test(memory MODULES store)
