"""What the libraries' lines say of the kernels that a step called."""

from bench import limits

LINES = """
onednn_verbose,info,oneDNN v3.2.0 (commit N/A)
onednn_verbose,exec,cpu,convolution,jit:avx2,forward_inference,src_f32::blocked:acdb:f0
onednn_verbose,exec,cpu,convolution,fastvae_winograd,forward,f32:acdb,,alg:convolution_winograd,mb8_ic64oc64,0.1
onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx2,forward_training,src:f32::blocked:acdb::f0
MKL_VERBOSE oneMKL 2024.2 for Intel(R) 64 architecture Intel(R) Advanced Vector Extensions 2 (Intel(R) AVX2) enabled
MKL_VERBOSE SGEMM(N,N,128,64,784,0x7f,0x7f,784) 60.2us CNR:OFF Dyn:1 FastMM:1 TID:0  NThr:2
"""


def test_kernels_are_counted_in_both_formats_of_onednn_and_mkl_says_the_processor():
    found = limits.kernels(LINES.splitlines())
    assert found == "MKL SGEMM x1, convolution fastvae_winograd x1, convolution jit:avx2 x2 (MKL: AVX2)"
    assert limits.kernels(["nothing"]) == ""


def test_every_limit_names_a_profile_of_ours():
    from fastvae import profiles

    assert profiles.resolve(environ=limits.LIMITS["avx2"]).isa == "avx2" and limits.LIMITS["native"] == {}
