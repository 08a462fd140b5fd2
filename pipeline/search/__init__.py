"""`pipeline search`: the best engines for a budget, found by measuring.

    searching    a search from its settings to what it found
    header       which settings, files and machine it is of
    measurable   what could never be measured, found out before anything trains
    machine      what of a machine decides how fast its engines are
    knobs        what may vary, checked against the settings
    rungs        cheap first: what a trial costs at each rung, and who goes on to the next
    model        what a trial measured, and what a search found
    objectives   costs and missed budgets of what was measured
    study        Optuna, which chooses what is tried and keeps what came of it
    values       of a trial, as Optuna holds them
    pool         artifacts that trials share
    job          one rung of one trial: an ordinary run of the line, then its latency
    places       where jobs run: processes of this machine, or a Ray cluster
    driver       asks, starts jobs, tells
    results      the front, correlations of rungs, importances of knobs
    showing      tables and pages; live while it runs
    taking       a trial becomes the artifacts of the line

Optuna is imported by `study` alone, where a search needs it.
"""
