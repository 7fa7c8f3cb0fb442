"""The gradient checker: how a layer is run, how its gradients are judged, and how a wrong gradient is explained.

Reading order: `confidence`, `limits` and `report` at the root; `subject`, the layer that is checked; `measure`, which
runs it and gives the verdict. Then the searches for a cause: `numbers` looks at the gradient alone, `jacobian` at which
output depends on which input, `rerun` runs the layer under other conditions, and `inner` looks at inner layers and at
the lines of the student's code. `explain` runs all searches, and `gradcheck` is the public function. `optimizer` checks
optimizers and clipping, and `student` checks a student's file.
"""
