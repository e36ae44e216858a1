"""Measurements of fastvae. The package imports nothing of them, except what `fastvae bench` runs.

pairing, worker      programs timed in turn, in live processes, by `fastvae/timing.py`
problem, steps       what all of them train, and the steps of PyMC3 models
tables               Markdown tables and their files
stock, fastvae_worker, user_vae, peers/    the programs; installed runs one with the installed fastvae
measure, compare, agreement    fastvae against stock, against other frameworks, and where both end
guard, counts        the regression guards by time and by counts; guard_sensitivity shows what the first notices
micro/               each Op by pytest-benchmark; where_time_goes and scaling for a whole step
benchmarks/          asv's, over the project's history; first_step and dry_run are timed by them too
objectives, optimizers, pipelines, kills, reproduce/    further figures of docs/performance/
pymc3_tests          PyMC3's own tests after `import fastvae` and in stock
gpu_report           everything about a GPU, from card, gpu_checks (convolution_cases, image_cases), gpu_training,
                     gpu_speed, gpu_sizes and gpu_where; gpu_host has its time and its processes, gpu_markdown its text
make_bundle          this environment for a host without network; ahead and keep_compiled compile for it
"""
