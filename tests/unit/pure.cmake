# The pure modules: layer 0 and the names of layer 1.
dv_unit_test(log MODULES log)
dv_unit_test(gate MODULES gate)
dv_unit_test(table MODULES table)
dv_unit_test(transform MODULES transform)
dv_unit_test(key MODULES key)
dv_unit_test(globs MODULES globs)
dv_unit_test(config MODULES config)
dv_unit_test(coding MODULES key config deflate)
