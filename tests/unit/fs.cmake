# The parts of fs/ that need no kernel.
dv_unit_test(options MODULES transform config globs SOURCES ${PROJECT_SOURCE_DIR}/fs/options.c
	${PROJECT_SOURCE_DIR}/fs/options_table.c ${PROJECT_SOURCE_DIR}/fs/options_args.c
	${PROJECT_SOURCE_DIR}/fs/options_text.c LIBS m)
dv_unit_test(mountpoint MODULES log SOURCES ${PROJECT_SOURCE_DIR}/fs/mountpoint.c)
dv_unit_test(node_ids MODULES log SOURCES ${PROJECT_SOURCE_DIR}/fs/node.c)
target_compile_definitions(test_node_ids PRIVATE LOOKUPS_MAX=1000)
dv_unit_test(progress SOURCES ${PROJECT_SOURCE_DIR}/fs/progress.c)
dv_unit_test(taken SOURCES ${PROJECT_SOURCE_DIR}/fs/taken.c)
dv_unit_test(told SOURCES ${PROJECT_SOURCE_DIR}/fs/told.c)
