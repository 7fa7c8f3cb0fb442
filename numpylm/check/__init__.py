"""What stands behind `numpylm.gradcheck`: how a layer is run, how a wrong gradient is explained.

Reading order: report, subject, trial (running and differencing), then the detectives: sizes, patterns and terms
look at the numbers alone; structure at which output may depend on which input; experiments run the layer again
under kinder conditions; inside looks at the layers that a layer is made of; explain asks them all.
"""
