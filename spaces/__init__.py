"""Where knobs may vary: values, no tensors. Standard library and PyYAML only.

domains   Float, Int, Categorical: the values of one knob
space     Space: walk, sample, corner, complete, fix, size
load      a YAML file -> Space, every mistake with its file and line
*.yaml    the shipped spaces
"""
