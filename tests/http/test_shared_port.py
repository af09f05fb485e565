"""Several nodes of one machine behind one port."""

from aiohttp import ClientSession, TCPConnector

from tests.support.local_cluster import LocalCluster
from tests.support.ports import free_port


async def test_nodes_share_a_port_and_keep_their_own(make_cluster) -> None:
    """Fresh connections meet different nodes, any of which serves everything; one that stops is not met any more."""
    port = free_port()
    cluster: LocalCluster = make_cluster(http={"shared_listen": f"127.0.0.1:{port}"})
    for name in cluster.names:
        cluster.changes["http"] = {
            "shared_listen": f"127.0.0.1:{port}",
            "listen": f"127.0.0.1:{cluster.http_ports[name]}",
        }
        await cluster.launch(name)
    await cluster.wait_connected()
    shared = f"http://127.0.0.1:{port}/v1/files/demo/f"
    async with ClientSession(connector=TCPConnector(force_close=True)) as session:
        async with session.put(shared, data=b"contents") as response:
            assert response.status == 201
        met = set()
        for _ in range(60):
            async with session.get(shared) as response:
                assert await response.read() == b"contents"
                met.add(response.headers["X-Request-Id"].partition("-")[0])
        assert len(met) > 1
        async with session.get(cluster.file_url("demo/f", "n3")) as response:
            assert response.headers["X-Request-Id"].startswith("n3-")
        gone = next(iter(met))
        await cluster.stop(gone)
        for _ in range(20):
            async with session.get(shared) as response:
                assert response.status == 200
                assert not response.headers["X-Request-Id"].startswith(f"{gone}-")
