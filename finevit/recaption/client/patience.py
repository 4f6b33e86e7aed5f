"""When a server is given up: what every request meets is no matter of one row, and a million rows would meet it one by one."""

from finevit.recaption.client.reply import Reply

ROWS = {"connection": 8, "timeout": 8, "bad_request": 20}
"""Requests in a row, each with all its attempts, after which a server that never answers otherwise is given up."""
MOST = 200
"""Of any other failure."""
REMEDIES = {
    401: "set the environment variable {variable} to an API key of this server",
    403: "see whether the API key in the environment variable {variable} may use this model",
    404: "check base_url (it mostly ends in /v1) and the model's name, which GET {url}/models lists",
}


class Patience:
    """Counts failures since the last answer."""

    def __init__(self, url: str, variable: str) -> None:
        self.url, self.variable, self.row, self.answered = url, variable, 0, False

    def lost(self, reply: Reply) -> str:
        """Notes what became of a request; why the server is given up, "" where it is not."""
        if not reply.status:
            self.row, self.answered = 0, True
            return ""
        self.row += 1
        if self.row < self._most(reply):
            return ""
        times = "" if self.row == 1 else f" {self.row} requests in a row ended so;"
        remedy = REMEDIES.get(reply.code, self._remedy(reply)).format(
            variable=self.variable or "(client.api_key_env)", url=self.url
        )
        return f"{self.url}: {reply.detail};{times} {remedy}; what was answered is kept, and another run asks the rest"

    def _most(self, reply: Reply) -> int:
        if not self.answered and (reply.code in REMEDIES or 300 <= reply.code < 400):
            return 1
        return ROWS.get(reply.status, ROWS["timeout"] if reply.wait and not reply.again else MOST)

    @staticmethod
    def _remedy(reply: Reply) -> str:
        if reply.code == 0:
            return "start the server, or check base_url"
        return "change what is asked" if reply.status == "bad_request" else "see what the server logs"
