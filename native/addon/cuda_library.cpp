#include "cuda_library.h"

#include <dlfcn.h>
#include <glob.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <mutex>
#include <vector>

#include "../core/runtime/error.h"

namespace kn::addon {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return paths;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// Folders where NVIDIA's libraries lie beyond the loader's own: what the environment names, toolkits, Python wheels.
std::vector<std::string> searchFolders() {
  std::vector<std::string> roots;
  std::stringstream named(variable("KN_CUDA_PATH"));
  for (std::string root; std::getline(named, root, ':');) {
    if (!root.empty()) roots.push_back(root);
  }
  for (const char* name : {"CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (!variable(name).empty()) roots.push_back(variable(name));
  }
  if (const std::string home = variable("HOME"); !home.empty()) {
    roots.push_back(home + "/.cache/kalman-norm/cuda");
    roots.push_back(home + "/.local");
  }
  for (const char* root : {"/usr/local/cuda", "/usr/local", "/usr"}) roots.emplace_back(root);

  std::vector<std::string> folders;
  for (const std::string& root : roots) {
    for (const char* inside : {"", "/lib64", "/lib", "/nvidia/*/lib", "/lib/python3*/site-packages/nvidia/*/lib",
                               "/lib/python3*/dist-packages/nvidia/*/lib", "/lib/python3/dist-packages/nvidia/*/lib"}) {
      for (const std::string& folder : matches(root + inside)) folders.push_back(folder);
    }
  }
  return folders;
}

/// "libcudnn.so.9" of "libcudnn.so.9: cannot open shared object file: ..."; empty for other errors.
std::string missingLibrary(const std::string& loaderMessage) {
  const size_t colon = loaderMessage.find(": cannot open shared object file");
  return colon == std::string::npos ? "" : loaderMessage.substr(0, colon);
}

std::string remedy(const std::string& library) {
  const std::string major = library.substr(library.rfind('.') + 1);
  struct Product {
    const char* part;
    std::string name, wheels;
  };
  const Product products[] = {{"cudnn", "cuDNN 9", "cudnn-cu13 or nvidia-cudnn-cu12"},
                              {"cublas", "cuBLAS of CUDA " + major, "cublas or nvidia-cublas-cu12"},
                              {"nccl", "NCCL 2", "nccl-cu13 or nvidia-nccl-cu12"},
                              {"", "it", "of that name"}};
  const Product& product = *std::find_if(std::begin(products), std::end(products), [&](const Product& known) {
    return library.find(known.part) != std::string::npos;
  });
  std::string text = "Install " + product.name + " (NVIDIA's packages, or the Python wheel nvidia-" + product.wheels;
  return text + "), or set KN_CUDA_PATH to the folders that have it, separated by colons";
}

/// Other versions of a library, so that a message can name what is there instead.
std::string othersIn(const std::vector<std::string>& folders, const std::string& library) {
  const std::string stem = library.substr(0, library.find(".so"));
  std::string found;
  for (const std::string& folder : folders) {
    for (const std::string& path : matches(folder + '/' + stem + ".so*")) found += (found.empty() ? "" : ", ") + path;
  }
  return found;
}

/// Loads a library that the loader didn't find by itself, so that the next attempt finds it loaded.
void* preload(const std::string& library, const std::string& wantedBy) {
  const std::vector<std::string> folders = searchFolders();
  std::string failures;
  for (const std::string& folder : folders) {
    const std::string path = folder + '/' + library;
    if (!fs::exists(path)) continue;
    if (void* opened = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) return opened;
    const std::string reason = dlerror();
    // It may itself need a library that isn't found.
    if (const std::string next = missingLibrary(reason); !next.empty() && next != library) {
      preload(next, library);
      if (void* opened = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) return opened;
    }
    failures += "\n  " + path + ": " + reason;
  }
  std::string message = library + ", which " + fs::path(wantedBy).filename().string() + " needs, is missing.";
  if (!failures.empty()) message += " Found, but not usable:" + failures;
  const std::string others = othersIn(folders, library);
  if (failures.empty() && !others.empty()) message += " Of other versions there are: " + others + ".";
  message += " " + remedy(library) + ". Looked in the loader's own folders (LD_LIBRARY_PATH included)";
  for (const std::string& folder : folders) message += ", " + folder;
  throw Error(ErrorCode::DeviceUnavailable, message);
}

void* openLibrary(const std::string& path) {
  require(fs::exists(path), ErrorCode::DeviceUnavailable, "the CUDA device isn't built: ", path,
          " doesn't exist. Build it with \"npm run cuda:build\"");
  // One library may be missing after the other; each attempt loads one more.
  for (std::string last;;) {
    if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    const std::string reason = dlerror(), missing = missingLibrary(reason);
    require(!missing.empty() && missing != last, ErrorCode::DeviceUnavailable,
            "the CUDA device can't be loaded: ", reason);
    preload(missing, path);
    last = missing;
  }
}

const CudaEntry& entryOf(const std::string& path) {
  void* const library = openLibrary(path);
  const auto entry = reinterpret_cast<const CudaEntry* (*)()>(dlsym(library, kCudaEntry));
  require(entry && std::string(entry()->core) == KN_CORE_FINGERPRINT, ErrorCode::DeviceUnavailable, path,
          " was built from other sources than the addon. Build both again: npm run build, npm run cuda:build");
  return *entry();
}

}  // namespace

void* openNvidiaLibrary(const std::string& library, const std::string& wantedBy) {
  if (void* opened = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL)) return opened;
  require(library.find('/') == std::string::npos, ErrorCode::DeviceUnavailable, wantedBy, " can't be had: ", dlerror());
  return preload(library, wantedBy);
}

const CudaEntry& openCudaLibrary(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, const CudaEntry*> opened;
  std::lock_guard lock(mutex);
  const CudaEntry*& entry = opened[path];
  if (!entry) entry = &entryOf(path);
  return *entry;
}

}  // namespace kn::addon
