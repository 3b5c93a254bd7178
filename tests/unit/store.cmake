# The store over the kernel.
dv_unit_test(order MODULES order)
dv_unit_test(store MODULES store)
dv_unit_test(memory MODULES store)
# The names of a value.
dv_unit_test(node_names MODULES node)
# The store where space is short.
dv_unit_test(space MODULES store SOURCES unit/space_fixture.c ${simfs})
dv_unit_test(backlog MODULES store SOURCES unit/space_fixture.c ${simfs})
# Names that are not durable yet.
dv_unit_test(loose MODULES loose SOURCES ${simfs})
# Directories that are renamed while others are, or while something is written below them.
dv_unit_test(moves MODULES store SOURCES ${simfs})
dv_unit_test(reshard MODULES store SOURCES ${simfs} TIMEOUT 300)
dv_unit_test(parts MODULES store xxh64 LIBS PkgConfig::ZSTD SOURCES unit/parts_fixture.c)
dv_unit_test(parts_others MODULES store LIBS PkgConfig::ZSTD SOURCES unit/parts_fixture.c)
# One mount dies beside another.
dv_unit_test(inherit MODULES store LIBS PkgConfig::ZSTD SOURCES unit/parts_fixture.c)
dv_unit_test(kept MODULES store LIBS PkgConfig::ZSTD SOURCES unit/parts_fixture.c)
dv_unit_test(copy MODULES store)
