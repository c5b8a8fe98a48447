#include "server/model/graph_source_scan.h"
#include "server/model/model_errors.h"

#include <cstdint>
#include <cstring>
#include <string>

namespace tightfit {
namespace {

// What follows an opcode. https://docs.python.org/3/library/pickletools.html
enum class Argument {
  kUnknown,
  kNone,
  kOneByte,
  kTwoBytes,
  kFourBytes,
  kEightBytes,
  kText,
  kLong,
  kGlobal
};

Argument ArgumentOf(uint8_t opcode) {
  switch (opcode) {
    case '(':   // MARK
    case ')':   // EMPTY_TUPLE
    case ']':   // EMPTY_LIST
    case '}':   // EMPTY_DICT
    case 'N':   // NONE
    case 'Q':   // BINPERSID
    case 'R':   // REDUCE
    case 'a':   // APPEND
    case 'b':   // BUILD
    case 'e':   // APPENDS
    case 's':   // SETITEM
    case 't':   // TUPLE
    case 'u':   // SETITEMS
    case '.':   // STOP
    case 0x81:  // NEWOBJ
    case 0x85:  // TUPLE1
    case 0x86:  // TUPLE2
    case 0x87:  // TUPLE3
    case 0x88:  // NEWTRUE
    case 0x89:  // NEWFALSE
      return Argument::kNone;
    case 0x80:  // PROTO
    case 'K':   // BININT1
    case 'h':   // BINGET
    case 'q':   // BINPUT
      return Argument::kOneByte;
    case 'M':  // BININT2
      return Argument::kTwoBytes;
    case 'J':  // BININT
    case 'j':  // LONG_BINGET
    case 'r':  // LONG_BINPUT
      return Argument::kFourBytes;
    case 'G':  // BINFLOAT
      return Argument::kEightBytes;
    case 'X':  // BINUNICODE
      return Argument::kText;
    case 0x8a:  // LONG1
      return Argument::kLong;
    case 'c':  // GLOBAL
      return Argument::kGlobal;
    default:
      return Argument::kUnknown;
  }
}

bool IsAllowedGlobal(std::string_view module, std::string_view name) {
  // Types of the archive itself: their code is scanned.
  if (module == "__torch__" || module.starts_with("__torch__.")) return true;
  if (module == "collections") return name == "OrderedDict";
  if (module == "torch._utils") return name == "_rebuild_tensor_v2" || name == "_rebuild_parameter";
  if (module == "torch.jit._pickle") {
    return name == "build_intlist" || name == "build_tensorlist" || name == "build_doublelist" ||
           name == "build_boollist" || name == "restore_type_tag";
  }
  if (module == "torch") {
    constexpr std::string_view kStorage = "Storage";
    return name.size() > kStorage.size() && name.substr(name.size() - kStorage.size()) == kStorage;
  }
  return false;
}

}  // namespace

Status ScanPickle(std::string_view file, std::string_view pickle) {
  const Status broken = BadModelDirectory(file, "a pickle in it is not one that LibTorch writes");
  size_t at = 0;
  while (at < pickle.size()) {
    const auto opcode = static_cast<uint8_t>(pickle[at++]);
    const std::string_view rest = pickle.substr(at);
    uint64_t size = 0;
    switch (ArgumentOf(opcode)) {
      case Argument::kUnknown:
        return broken;
      case Argument::kNone:
        break;
      case Argument::kOneByte:
        size = 1;
        break;
      case Argument::kTwoBytes:
        size = 2;
        break;
      case Argument::kFourBytes:
        size = 4;
        break;
      case Argument::kEightBytes:
        size = 8;
        break;
      case Argument::kText: {
        uint32_t length = 0;
        if (rest.size() < sizeof(length)) return broken;
        std::memcpy(&length, rest.data(), sizeof(length));
        size = sizeof(length) + uint64_t{length};
        break;
      }
      case Argument::kLong:
        if (rest.empty()) return broken;
        size = 1 + uint64_t{static_cast<uint8_t>(rest.front())};
        break;
      case Argument::kGlobal: {
        const size_t module_end = rest.find('\n');
        if (module_end == std::string_view::npos) return broken;
        const size_t name_end = rest.find('\n', module_end + 1);
        if (name_end == std::string_view::npos) return broken;
        const std::string_view module = rest.substr(0, module_end);
        const std::string_view name = rest.substr(module_end + 1, name_end - module_end - 1);
        if (!IsAllowedGlobal(module, name)) {
          return ForbiddenOperator(file, Shown(module) + "." + Shown(name));
        }
        size = name_end + 1;
        break;
      }
    }
    if (size > rest.size()) return broken;
    at += size;
    if (opcode == '.') return at == pickle.size() ? OkStatus() : broken;
  }
  return broken;
}

}  // namespace tightfit
