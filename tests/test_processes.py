from threadpoolctl import threadpool_info

from omrl_bench.processes import process_pool


def test_the_processes_of_a_pool_keep_to_one_thread():
    """Also in what they load when they get their work, as they do: a new process has loaded nothing before."""
    with process_pool(1) as pool:
        for module in ("scipy.linalg", "sklearn.manifold"):
            pool.submit(exec, f"import {module}").result()
        numbers = pool.submit(threadpool_info).result()
    assert len(numbers) >= 2 and {each["num_threads"] for each in numbers} == {1}
