// Runs a fuzz target without libFuzzer: over every file of a corpus, then over random changes of them. Its inputs
// depend on the seed alone, so that a failure can be repeated; the last input lies in the file that is named on
// failure.
//
//   fuzz_NAME CORPUS_FOLDER [MUTATIONS [SEED]]
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

std::string g_input;  // NOLINT: for the handler of SIGABRT

void SaveInput(int) {
  std::ofstream("fuzz-failure.bin", std::ios::binary) << g_input;
  constexpr char kLine[] = "the failing input is in fuzz-failure.bin\n";
  (void)!write(STDERR_FILENO, kLine, sizeof(kLine) - 1);
  _exit(1);
}

void Run(std::string input) {
  g_input = std::move(input);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(g_input.data()), g_input.size());
}

// A file with one to four bytes, runs or lengths changed, or a piece of another file inserted.
std::string Mutated(const std::vector<std::string>& corpus, std::mt19937_64& random) {
  const auto below = [&](size_t bound) { return bound == 0 ? size_t{0} : static_cast<size_t>(random() % bound); };
  std::string input = corpus[below(corpus.size())];
  for (size_t changes = 1 + below(4); changes > 0; --changes) {
    const size_t at = below(input.size() + 1);
    switch (below(5)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(random());
        break;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 2:
        input.erase(at, 1 + below(8));
        break;
      case 3: {
        const std::string& other = corpus[below(corpus.size())];
        const size_t from = below(other.size() + 1);
        input.insert(at, other, from, 1 + below(64));
        break;
      }
      default:
        input.replace(at, std::min<size_t>(input.size() - at, 4),
                      below(2) == 0 ? "\xff\xff\xff\x7f" : std::string(4, '\0'));
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER [MUTATIONS [SEED]]\n", argv[0]);
    return 2;
  }
  std::signal(SIGABRT, SaveInput);
  std::vector<std::string> corpus;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    std::ifstream file(entry.path(), std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "%s holds no input\n", argv[1]);
    return 1;
  }
  std::sort(corpus.begin(), corpus.end());
  const long mutations = argc > 2 ? std::atol(argv[2]) : 0;
  std::mt19937_64 random(argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1);
  Run("");
  for (const std::string& input : corpus) Run(input);
  for (long i = 0; i < mutations; ++i) Run(Mutated(corpus, random));
  std::printf("%zu files and %ld mutations: clean\n", corpus.size(), mutations);
  return 0;
}
