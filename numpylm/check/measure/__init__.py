"""Running a layer, and measuring its gradients against differences of its forward."""
