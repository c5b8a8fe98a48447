# The .deb that deploy/package_deb.sh makes. Its dependencies are Debian's packages, found by
# dpkg-shlibdeps in what the programs and LibTorch link to; LibTorch itself, of which Debian 12 has
# another version, lies in it.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME tightfit)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "The tightfit project <tightfit@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Serves Stable Diffusion XL over gRPC from compact weights")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
  "Stable Diffusion XL over gRPC from compact weights\n\
A server that holds SDXL models packed into compact floats and tells which model\n\
holds how many bytes, a command line for it, and tools for its weights. It\n\
computes on the CPU; LibTorch's libraries for that lie in /usr/lib/tightfit.")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION graphics)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BUILD_RPATH})
# A third smaller than with gzip, and quicker.
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)
set(CPACK_THREADS 0)
# For labels on contact sheets, and for servers with certificates of public authorities.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "fonts-dejavu-core, ca-certificates")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "systemd, bash-completion")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${PROJECT_SOURCE_DIR}/deploy/packaging/debian/conffiles
  ${PROJECT_SOURCE_DIR}/deploy/packaging/debian/postinst
  ${PROJECT_SOURCE_DIR}/deploy/packaging/debian/prerm
  ${PROJECT_SOURCE_DIR}/deploy/packaging/debian/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_STRIP_FILES ON)
# /etc lies beside the prefix, and the unit names the prefix: both need a real one.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
include(CPack)
