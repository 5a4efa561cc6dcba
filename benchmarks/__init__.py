"""Measurements of wellposed itself: ``python -m benchmarks`` prints the tables of this folder.

Each module that is named first in a line runs alone, as ``python -m benchmarks.moments_speed``; those after "by" are its parts.

The whole check
    ``training_problems``: how often ``wellposed.check`` is right, on the problems of ``cases``
    ``healthy``: whether it accuses healthy problems
    ``unread``: how often it is right on problems whose author had read the README alone
    ``check_cost``: what it costs, in training steps of the problem itself
    ``trace``: whether a check leaves a trace in the user's model, data or process
    ``bad_use``: what is said of wrong calls and hostile inputs
moments, data
    ``moments_accuracy``: correct digits, by ``moments_truth``, ``moments_peers``, ``moments_ways``, ``nist``
    ``moments_speed``, ``files_speed``, ``files_as_written``, ``engines``: time and memory, of arrays, files and clusters
differentiate
    ``difference_bars``: whether error bars hold, by ``difference_cases``, ``difference_bars_mixed``
gradcheck
    ``gradient_bugs``: which bugs are caught, by ``gradient_bugs_peers``
    ``opinfo``: torch's own operations with and without bugs, by ``opinfo_cases``, ``opinfo_mutants``, ``opinfo_trial``
    ``kinks``: nets with many kinks in float32
    ``gradient_names``, ``gradient_names_heldout``, ``operator_names``: whether the bug is named rightly
    ``gradient_cost``: time and memory
All rooms
    ``peer_claims``: what other libraries' documents and tests claim, held against wellposed
    ``oracle``: whether a change of the code changed an answer
    ``house``: sizes and imports of the source, by ``house_imports``, ``house_layers``, ``house_passages``; ``house_picture``
"""
