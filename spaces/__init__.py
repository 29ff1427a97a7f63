"""Where knobs may vary: values, no tensors. Standard library and PyYAML only.

domains   Float, Int, Categorical: the values of one knob
tree      Level and Space: what opens what, and the one walk through it
space     points of a Space: sample, corner, complete, contains, fix, size, options
limits    what a net may cost
published what a preset says of the system that it reads
scalars   values as texts, by the rules of YAML 1.2
nodes     the nodes of a space file, with their lines
load      a YAML file -> Space, every mistake with its file and line
*.yaml    the shipped spaces; seeds/*.yaml the presets
"""
