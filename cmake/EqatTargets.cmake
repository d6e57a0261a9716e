# Flags and one function per kind of target.

add_library(eqat_flags INTERFACE)
target_compile_features(eqat_flags INTERFACE cxx_std_20)
# Contraction is off so that a product followed by a sum is rounded twice on every target unless the source says
# MulAdd or std::fma: results must not depend on the machine (docs/numerics.md).
target_compile_options(eqat_flags INTERFACE
  -ffp-contract=off -Wall -Wextra -Wno-sign-compare -Wno-missing-field-initializers
  $<$<BOOL:${EQAT_WERROR}>:-Werror>)
# Where several files are compiled as one, names of one file hide those of another, and the types that a source file
# keeps to itself seem to stand in a header; neither is a fault.
if(CMAKE_UNITY_BUILD)
  target_compile_options(eqat_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
else()
  target_compile_options(eqat_flags INTERFACE -Wshadow)
endif()
if(EQAT_BUILD_FUZZERS)
  target_compile_options(eqat_flags INTERFACE -fsanitize=fuzzer-no-link)
  # One vector target is enough here, and takes a fifth of the time.
  target_compile_definitions(eqat_flags INTERFACE HWY_COMPILE_ONLY_STATIC)
endif()
if(EQAT_SANITIZE)
  # Null pointers and the ends of objects are the address sanitizer's too; asking twice costs a fifth of the build.
  target_compile_options(eqat_flags INTERFACE -fsanitize=${EQAT_SANITIZE} -fno-sanitize=null,object-size
                         -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  # Instrumented vector code takes minutes to compile for each target; the oldest two differ least from the others, and
  # the tests of the release build run them.
  target_compile_definitions(eqat_flags INTERFACE "HWY_DISABLED_TARGETS=(HWY_SSSE3|HWY_SSE4)")
  target_link_options(eqat_flags INTERFACE -fsanitize=${EQAT_SANITIZE})
endif()

# eqat_library(<folder name> SOURCES a.cc ... HEADERS a.h ... DEPS eqat::core absl::status ... PRIVATE_DEPS Eigen3::Eigen)
# makes target eqat_<name> with alias eqat::<name>.
function(eqat_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;HEADERS;DEPS;PRIVATE_DEPS" ${ARGN})
  if(arg_SOURCES)
    add_library(eqat_${name} STATIC ${arg_SOURCES})
    set(scope PUBLIC)
    target_link_libraries(eqat_${name} PRIVATE $<BUILD_INTERFACE:eqat_flags> ${arg_PRIVATE_DEPS})
    set_target_properties(eqat_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  else()
    add_library(eqat_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  # Kernels include themselves once for each vector target, which works only for a file of its own.
  set(kernel_sources ${arg_SOURCES})
  list(FILTER kernel_sources INCLUDE REGEX "kernels")
  set_source_files_properties(${kernel_sources} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  if(EQAT_SANITIZE AND arg_SOURCES AND NOT EQAT_BUILD_FUZZERS)
    # What is no kernel computes little; instrumented, it compiles in half the time without optimization.
    target_compile_options(eqat_${name} PRIVATE -O0)
    set_source_files_properties(${kernel_sources} PROPERTIES COMPILE_OPTIONS -O1)
  endif()
  add_library(eqat::${name} ALIAS eqat_${name})
  target_compile_features(eqat_${name} ${scope} cxx_std_20)
  target_include_directories(eqat_${name} ${scope}
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/eqat>)
  target_link_libraries(eqat_${name} ${scope} ${arg_DEPS})
  set_target_properties(eqat_${name} PROPERTIES EXPORT_NAME ${name})
  set_property(GLOBAL APPEND PROPERTY EQAT_LIBRARIES eqat_${name})
  foreach(header IN LISTS arg_HEADERS)
    cmake_path(RELATIVE_PATH CMAKE_CURRENT_SOURCE_DIR BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE folder)
    set_property(GLOBAL APPEND PROPERTY EQAT_HEADERS ${folder}/${header})
  endforeach()
endfunction()

# Headers that nearly every test includes, parsed once for all test programs: most of a test's compile time.
function(eqat_test_headers)
  add_library(eqat_test_headers OBJECT ${PROJECT_SOURCE_DIR}/tests/support/precompiled.cc)
  target_link_libraries(eqat_test_headers PRIVATE eqat_flags eqat_test_flags eqat::io GTest::gmock GTest::gtest)
  target_precompile_headers(eqat_test_headers PRIVATE
    <gmock/gmock.h> <gtest/gtest.h> <map> <memory> <optional> <string> <vector>
    ${PROJECT_SOURCE_DIR}/core/status_macros.h ${PROJECT_SOURCE_DIR}/io/json_reader.h)
endfunction()

# Tests are compiled for a short build, the libraries under test as they are shipped. Undefined behaviour is looked for in
# the libraries and the program alone: instrumenting what the tests instantiate costs a third of the build.
add_library(eqat_test_flags INTERFACE)
if(EQAT_SANITIZE)
  target_compile_options(eqat_test_flags INTERFACE -O0 -fno-sanitize=undefined)
else()
  target_compile_options(eqat_test_flags INTERFACE $<$<CONFIG:Release>:-O1>)
endif()

# eqat_test(<name> SOURCES a_test.cc ... DEPS eqat::core ... [TIMEOUT seconds])
# makes one GoogleTest program <name>_test whose every TEST is a CTest.
function(eqat_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  if(NOT TARGET eqat_test_headers)
    eqat_test_headers()
  endif()
  add_executable(${name}_test ${arg_SOURCES})
  target_link_libraries(${name}_test PRIVATE eqat_flags eqat_test_flags eqat::io ${arg_DEPS} GTest::gmock GTest::gtest
                        GTest::gtest_main)
  target_precompile_headers(${name}_test REUSE_FROM eqat_test_headers)
  target_include_directories(${name}_test PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${name}_test PRIVATE EQAT_TEST_DATA="${PROJECT_SOURCE_DIR}/tests")
  gtest_discover_tests(${name}_test TEST_PREFIX ${name}. DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    EXTRA_ARGS --gtest_random_seed=1 PROPERTIES TIMEOUT ${arg_TIMEOUT})
endfunction()
