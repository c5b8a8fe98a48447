// The dispatcher operators that a rewritten graph calls instead of aten::linear and
// aten::_convolution, for every Linear and Conv2d whose graph allows it, packed or not:
//
//   tightfit::linear(Tensor x, Weight weight, Tensor? bias) -> Tensor
//   tightfit::conv2d(Tensor x, Weight weight, Tensor? bias,
//                    int[] stride, int[] padding, int[] dilation, int groups) -> Tensor
//
// Weight stands for __torch__.torch.classes.tightfit.Weight (weights/weight.h).
#ifndef TIGHTFIT_SERVER_WEIGHTS_OPERATORS_H_
#define TIGHTFIT_SERVER_WEIGHTS_OPERATORS_H_

#include "server/weights/weight.h"

namespace tightfit {

// The operators' type of a weight; registers them with the process.
c10::TypePtr WeightType();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_OPERATORS_H_
