"""kombu's TLS transport for RabbitMQ, which checks every node of several by that node's own name.

kombu sends no name and checks none unless it is told one, and then keeps that of the first node for all that follow.
"""

from typing import Any

from kombu.transport import pyamqp


class Transport(pyamqp.SSLTransport):
    def establish_connection(self) -> Any:
        client: Any = self.client
        hostname, options = client.hostname, client.ssl
        if options["cert_reqs"]:  # py-amqp cannot send a name that it does not check.
            client.ssl = {**options, "server_hostname": hostname}
        try:
            return super().establish_connection()
        finally:
            client.hostname = hostname  # kombu puts 127.0.0.1 for localhost, and it would be the name from then on.
