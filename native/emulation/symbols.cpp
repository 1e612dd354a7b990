#include "symbols.h"

#include <dlfcn.h>
#include <elf.h>

#include <fstream>
#include <map>
#include <mutex>
#include <vector>

namespace kn::emulation {
namespace {

using Names = std::map<uint64_t, std::string>;

template <class T>
std::vector<T> readAt(std::ifstream& file, uint64_t offset, uint64_t bytes) {
  std::vector<T> items(bytes / sizeof(T));
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(items.data()), static_cast<std::streamsize>(items.size() * sizeof(T)));
  return items;
}

/// All functions of a library, from the table for debuggers: the dynamic linker knows only what is exported, and an
/// instance of a template over a hidden type is not.
Names readNames(const char* path) {
  Names names;
  std::ifstream file(path, std::ios::binary);
  if (!file) return names;
  const auto header = readAt<Elf64_Ehdr>(file, 0, sizeof(Elf64_Ehdr))[0];
  const auto sections = readAt<Elf64_Shdr>(file, header.e_shoff, uint64_t{header.e_shnum} * sizeof(Elf64_Shdr));
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_SYMTAB) continue;
    const Elf64_Shdr& text = sections[section.sh_link];
    const auto strings = readAt<char>(file, text.sh_offset, text.sh_size);
    for (const Elf64_Sym& symbol : readAt<Elf64_Sym>(file, section.sh_offset, section.sh_size))
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC) names[symbol.st_value] = &strings[symbol.st_name];
  }
  return names;
}

}  // namespace

std::string symbolAt(const void* address) {
  static std::mutex mutex;
  static auto& libraries = *new std::map<std::string, Names>;
  Dl_info info{};
  if (!dladdr(address, &info)) return "";
  std::lock_guard lock(mutex);
  const auto [library, isNew] = libraries.try_emplace(info.dli_fname);
  if (isNew) library->second = readNames(info.dli_fname);
  const auto base = reinterpret_cast<uint64_t>(info.dli_fbase);
  const auto name = library->second.find(reinterpret_cast<uint64_t>(address) - base);
  return name == library->second.end() ? "" : name->second;
}

}  // namespace kn::emulation
