"""Measurements of fastvae; nothing here is imported by it, but for what `fastvae bench` runs.

pairing, worker      programs timed in turn, in live processes, by `fastvae/timing.py`
problem, steps       what all of them train, and the steps of PyMC3 models
stock, fastvae_worker, user_vae, peers/    the programs
measure, compare, agreement    fastvae against stock, against other frameworks, and where both end
guard                the regression guard; guard_sensitivity shows what it notices
micro/               each Op by pytest-benchmark; where_time_goes and scaling for a whole step
objectives, pipelines, kills, reproduce/    further figures of the README
gpu_report           everything about a GPU, from gpu_checks (convolution_cases), gpu_training, card, gpu_markdown
make_bundle          this environment for a host without network
"""
