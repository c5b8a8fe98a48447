# LibTorch from the torch wheel, as imported targets. find_package(Torch) is not used: it stops
# where
# no CUDA toolkit is installed, brings an old protoc and defines a dummy protobuf target.
#
# tightfit_torch: libtorch_cpu and libc10; the CUDA libraries are linked by the CUDA build.
set(TIGHTFIT_TORCH_VERSION 2.11.0)
set(TIGHTFIT_TORCH_ROOT ${TIGHTFIT_SITE_PACKAGES}/torch)
if(NOT EXISTS ${TIGHTFIT_TORCH_ROOT}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "No torch wheel beside ${TIGHTFIT_PYTHON}. Run deploy/install.sh, or build "
                      "without it: -DTIGHTFIT_WITH_TORCH=OFF")
endif()
file(STRINGS ${TIGHTFIT_TORCH_ROOT}/version.py _version_line REGEX "^__version__ = ")
if(NOT _version_line MATCHES "'${TIGHTFIT_TORCH_VERSION}[^']*'")
  message(FATAL_ERROR "torch ${TIGHTFIT_TORCH_VERSION} is needed, but found ${_version_line}")
endif()

foreach(_name c10 torch_cpu)
  add_library(tightfit_torch::${_name} SHARED IMPORTED)
  set_target_properties(tightfit_torch::${_name} PROPERTIES
    IMPORTED_LOCATION ${TIGHTFIT_TORCH_ROOT}/lib/lib${_name}.so)
endforeach()

add_library(tightfit_torch INTERFACE)
# After the system's own include path: the wheel also ships protobuf 3.13 and fmt 12 headers.
target_compile_options(tightfit_torch INTERFACE
  "SHELL:-idirafter ${TIGHTFIT_TORCH_ROOT}/include"
  "SHELL:-idirafter ${TIGHTFIT_TORCH_ROOT}/include/torch/csrc/api/include")
# Its checks put the names of its headers into programs; where they were built is nobody's business.
target_compile_options(tightfit_torch INTERFACE -fmacro-prefix-map=${TIGHTFIT_TORCH_ROOT}/=torch/)
target_compile_definitions(tightfit_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
target_link_libraries(tightfit_torch INTERFACE tightfit_torch::torch_cpu tightfit_torch::c10)
# libtorch_cpu needs libcudart and libcupti even on a CPU; they lie in wheels of their own, or where
# the system's CUDA toolkit registered them.
set(_rpaths ${TIGHTFIT_TORCH_ROOT}/lib)
file(GLOB _nvidia_libs LIST_DIRECTORIES true ${TIGHTFIT_SITE_PACKAGES}/nvidia/*/lib)
list(APPEND _rpaths ${_nvidia_libs})
foreach(_path IN LISTS _rpaths)
  target_link_options(tightfit_torch INTERFACE "LINKER:-rpath-link,${_path}")
endforeach()
# Of programs in the build tree alone: an installed one has its own (Install.cmake).
list(APPEND CMAKE_BUILD_RPATH ${_rpaths})
target_link_options(tightfit_torch INTERFACE "LINKER:--allow-shlib-undefined")

# One precompiled header for every file that includes LibTorch.
add_library(tightfit_torch_pch OBJECT ${PROJECT_SOURCE_DIR}/server/model/torch_pch.cc)
target_link_libraries(tightfit_torch_pch PUBLIC tightfit_options tightfit_torch)
target_precompile_headers(tightfit_torch_pch PRIVATE <torch/script.h>)

# tightfit_use_torch(TARGET): links LibTorch and reuses the precompiled header.
function(tightfit_use_torch target)
  target_link_libraries(${target} PUBLIC tightfit_torch)
  target_precompile_headers(${target} REUSE_FROM tightfit_torch_pch)
  # The header was compiled with -fPIC; an executable's -fPIE would make it invalid.
  get_target_property(_type ${target} TYPE)
  if(_type STREQUAL EXECUTABLE)
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIC)
  endif()
endfunction()
