#include "shared_object.hpp"

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/shared_library.hpp>
#include <memory>

namespace vmxsys::platform {

void add_entries_of(const std::filesystem::path& file, catalogues& to) {
  const auto fail = [&](const std::string& reason) { throw shared_object_error{file.string() + ": " + reason}; };
  std::error_code error;
  // The loader would look for a bare name elsewhere.
  const std::filesystem::path where = std::filesystem::absolute(file, error);
  if (error || !std::filesystem::exists(where, error)) fail("no such file");
  const auto library = std::make_shared<boost::dll::shared_library>();
  library->load(where, error, boost::dll::load_mode::rtld_now);
  if (error) fail("cannot be loaded as a shared object: " + error.message());
  if (!library->has("vmxsys_entries_v1") || !library->has("vmxsys_entries_version"))
    fail("defines no entries (VMXSYS_ENTRIES in <vmxsys/platform/machine/shared_object.hpp>)");
  const std::string version = library->get<const char*()>("vmxsys_entries_version")();
  if (version != VMXSYS_ENTRIES_VERSION)
    fail("is made for entries of version " + version + ", this program has version " VMXSYS_ENTRIES_VERSION);
  to.loaded.push_back(library);
  try {
    library->get<void(catalogues&)>("vmxsys_entries_v1")(to);
  } catch (const catalogue_error& e) {
    fail(e.what());
  }
}

}  // namespace vmxsys::platform
