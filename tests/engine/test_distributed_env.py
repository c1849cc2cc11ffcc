import pytest

from diffucoder.engine.distributed_env import first_host, rank_variables, started_as_rank

SLURM = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_STEP_ID": "2",
    "SLURM_PROCID": "11",
    "SLURM_LOCALID": "3",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


def test_a_launchers_word_counts() -> None:
    torchrun = {"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "a"}
    assert rank_variables(SLURM | torchrun | {"HOME": "/"}) == torchrun
    assert started_as_rank(torchrun) == "rank 2 of 4"


def test_slurms_variables_are_translated() -> None:
    here = rank_variables(SLURM)
    port = here.pop("MASTER_PORT")
    assert here == {
        "RANK": "11",
        "LOCAL_RANK": "3",
        "WORLD_SIZE": "16",
        "MASTER_ADDR": "gpu07",
    }
    assert (
        rank_variables(SLURM | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"})["MASTER_PORT"] == port
    )
    assert rank_variables(SLURM | {"SLURM_STEP_ID": "3"})["MASTER_PORT"] != port
    assert 1024 < int(port) < 32768


@pytest.mark.parametrize("step", [{}, {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}])
def test_everybody_else_is_alone(step: dict[str, str]) -> None:
    # In a batch script the allocation's variables are there, but no step's.
    batch = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "16", "SLURM_PROCID": "0"}
    assert rank_variables(batch | step) == {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    assert started_as_rank(batch | step) is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu07", "gpu07"),
        ("gpu[003-007,9],login", "gpu003"),
        ("a,b[1-2]", "a"),
        ("rack[1-2]n[3,5]", "rack1n3"),
    ],
)
def test_the_first_host_of_folded_names(nodes: str, first: str) -> None:
    assert first_host(nodes) == first
