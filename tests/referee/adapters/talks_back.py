"""Sends the referee messages of its own making."""

from honest import Honest


class Forged(Honest):
    """Says that it is done before it is, and goes on."""

    def fit(self, data, budget, seeds, log):
        log._host.channel.send({"call": "ok", "count": 10})
        super().fit(data, budget, seeds, log)


class Unknown(Honest):
    def fit(self, data, budget, seeds, log):
        log._host.channel.send({"call": "write_record"})


class Garbage(Honest):
    def fit(self, data, budget, seeds, log):
        log._host.channel.connection.sendall(b"\xff" * 64)
        super().fit(data, budget, seeds, log)


class OtherSeeds(Honest):
    def fit(self, data, budget, seeds, log):
        log("policy", 1, 2, seeds=[17])


class NoTotal(Honest):
    def fit(self, data, budget, seeds, log):
        log("policy", 1, 0)
