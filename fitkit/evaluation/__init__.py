"""How good and how fast fits are: benchmarks of accuracy and speed, called by `fitkit eval` and `fitkit bench`.

It calls `fitkit.fit` as a user does and gives it nothing but the picture; nothing is tuned here.

    synthetic/            rendered people of known shape, fitted and measured (`eval synthetic`)
    scan_benchmark        saved results against a user's own scans (`eval folder`)
    ablation              what each term of recipe `ganfit` brings (`eval ablation`)
    metrics/              the measures themselves, on arrays: scan to mesh, depth maps, alignment
    registration_floor    the floor: the error left when our head is registered to the ground truth, without a picture
    identity_similarity   cosine between photo and rendering by an identity network
    scores, score_table, html_report    errors -> means and intervals -> text, HTML
    speed/                timings beside DEODR (`bench`)
"""
