// Operators for LibTorch's device "meta"; those of LibTorch's own are there from the start.
#ifndef TIGHTFIT_TESTS_UNIT_WEIGHTS_META_OPERATORS_H_
#define TIGHTFIT_TESTS_UNIT_WEIGHTS_META_OPERATORS_H_

namespace tightfit {

// tightfit::linear and tightfit::conv2d with dense weights.
void RegisterWeightOperatorsOfMeta();

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_WEIGHTS_META_OPERATORS_H_
