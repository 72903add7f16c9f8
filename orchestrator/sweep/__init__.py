"""Plan to Ray Tune: one Tuner, one Searcher, two phases, resumed by running again."""
