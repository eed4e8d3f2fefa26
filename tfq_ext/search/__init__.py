"""Which layer deserves how many bits: measured one by one, then chosen by integer programming.

units        what can be chosen apart: ops, their weights and grids
apart        a finished file's integers by the names of the pivot
materials    the integers of every bit width and the ranges, taken from finished files
probes       the float model with one thing quantized
meter        how near a file's outputs are to the float model's
notebook     what was measured, line by line in a file, so that a run goes on after a crash
study        all of these for one model and its samples
sensitivity  tfq_ext.sensitivity
choices      widths that may be chosen, by name
costs        bytes and milliseconds of every unit in every width
problem      the choice as numbers; pose measures them, mixed solves it, greedy too
goal         budgets
to_recipe    a choice as rules of a recipe
rounds       solve, make the file, measure, tighten
find         tfq_ext.find_recipe -> found
settle       a recipe that asks for a search: widths and file in one go
"""
