// Says of each qconfig file given on the command line whether the parser takes it: "ok PATH" or "error PATH MESSAGE".
#include <cstdio>

#include "configs/qconfig_json.h"

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const auto mapping = eqat::configs::ReadQConfigMapping(argv[i]);
    if (mapping.ok()) {
      std::printf("ok %s\n", argv[i]);
    } else {
      std::printf("error %s %s\n", argv[i], std::string(mapping.status().message()).c_str());
    }
  }
}
