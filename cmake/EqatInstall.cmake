# Installs the libraries, their public headers and the CMake package; tests/install checks it from outside.
include(CMakePackageConfigHelpers)

get_property(libraries GLOBAL PROPERTY EQAT_LIBRARIES)
get_property(headers GLOBAL PROPERTY EQAT_HEADERS)

add_library(eqat_eqat INTERFACE)
add_library(eqat::eqat ALIAS eqat_eqat)
set_target_properties(eqat_eqat PROPERTIES EXPORT_NAME eqat)
target_link_libraries(eqat_eqat INTERFACE ${libraries})

install(TARGETS ${libraries} eqat_eqat EXPORT eqatTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT eqatTargets NAMESPACE eqat:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/eqat)
foreach(header IN LISTS headers)
  cmake_path(GET header PARENT_PATH folder)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/eqat/${folder})
endforeach()
configure_package_config_file(cmake/eqatConfig.cmake.in ${PROJECT_BINARY_DIR}/eqatConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/eqat)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/eqatConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/eqatConfig.cmake ${PROJECT_BINARY_DIR}/eqatConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/eqat)
install(DIRECTORY configs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/eqat/configs FILES_MATCHING PATTERN "*.json")
if(TARGET eqat)
  install(TARGETS eqat RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
