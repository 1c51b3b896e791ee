"""The values of the papers: each `paper.toml` is found, known field by field, and one is run from the command line."""

import dataclasses
from pathlib import Path

import pytest

import fitkit
from fitkit import configuration
from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.recipes import RECIPES

ASTRONAUT = Path(__file__).parents[2] / "notebooks" / "data" / "astronaut.png"
# Guo et al. 2018, Section V: Eq. 3; w_l and w_r of Eq. 5; mu_1 and mu_2 of Eq. 9; beta below Eq. 10
GUO = {"perspective": False, "learned_points": False, "weight_landmark": 10.0, "weight_prior": 5e-5, "weight_displacement": 1e-3,
       "weight_laplacian": 0.3, "model_share": 0.35, "model_share_wrinkled": 0.65}


@pytest.mark.parametrize("name", configuration.paper_files())
def test_a_papers_file_holds_known_fields_of_a_recipe_that_it_names(name):
    tables = configuration.read_config(f"paper:{name}")
    assert tables["fit"]["recipe"] == name and tables["recipe"]
    config = RECIPES[name].config(**configuration.check_fields(RECIPES[name].config, tables["recipe"]))
    assert config != RECIPES[name].config(), "the recipe's defaults are the paper's: no file is needed"
    # every value says where the paper states it
    text = configuration.paper_files()[name].read_text(encoding="utf-8")
    for line in text.partition("[recipe]")[2].splitlines():
        assert not line.partition("#")[0].strip() or "#" in line, line


def test_the_values_are_those_of_guo():
    config = RECIPES["inverse_rendering"].config(**configuration.read_config("paper:inverse_rendering")["recipe"])
    assert dataclasses.asdict(config) | GUO == dataclasses.asdict(config)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--config", "paper:inverse_renderin"], "did you mean 'inverse_rendering'?"),
    (["--config", "paper:inverse_rendering", "--recipe", "landmarks"], "--recipe says landmarks; drop one"),
    (["--config", "paper:"], "there is no file of a paper's values for recipe ''"),
])
def test_a_paper_that_is_not_there_or_not_meant_is_one_sentence(arguments, words, capsys):
    assert main.run(["fit", str(ASTRONAUT), *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("fitkit: error E_USAGE: ") and words in err and len(err.splitlines()) == 1


def test_the_command_line_wins_over_the_papers_values():
    options, fields = main.parse(["fit", "me.jpg", "--config", "paper:inverse_rendering", "--recipe", "inverse_rendering",
                                  "--size", "128"])
    assert (options.recipe, options.size) == ("inverse_rendering", 128) and fields["weight_laplacian"] == 0.3
    with pytest.raises(FitkitError):
        configuration.read_config("paper:landmarks")


def test_a_photo_is_fitted_with_the_papers_values(tmp_path):
    paper, out = ["--config", "paper:inverse_rendering"], ["--outputs", "params", "--out", str(tmp_path)]
    assert main.run(["fit", str(ASTRONAUT), *paper, *out]) == 0
    result = fitkit.load(next(path for path in tmp_path.iterdir() if path.is_dir()))
    assert result.recipe == "inverse_rendering" and result.fields | GUO == result.fields
    assert result.status == "converged" and result.detail is not None
