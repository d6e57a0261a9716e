// RandomModel: models whose graphs hold, in every combination, what freezing looks for; the same for the same seed.
#ifndef EQAT_TESTS_MODEL_FREEZE_RANDOM_MODEL_H_
#define EQAT_TESTS_MODEL_FREEZE_RANDOM_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/model.h"

namespace eqat::model {

struct RandomModel {
  Model model;
  Feed feed;                                                   // finite values, 3 rows
  std::vector<std::string> preserve;                           // some of its modules, for one in four
  std::vector<std::unique_ptr<std::vector<int64_t>>> indices;  // that the feed views
};

RandomModel MakeRandomModel(uint64_t seed);

}  // namespace eqat::model

#endif  // EQAT_TESTS_MODEL_FREEZE_RANDOM_MODEL_H_
