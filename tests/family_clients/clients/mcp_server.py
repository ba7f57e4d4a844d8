"""The MCP Python SDK's own telemetry: client and server in one process."""

import asyncio

import scenario as it

provider = it.provider()

from mcp.client import Client
from mcp.server import MCPServer

server = MCPServer("orders")
server.tool()(it.lookup_order)
server.tool()(it.issue_refund)


@server.resource("orders://1042")
def order() -> str:
    return it.lookup_order("1042")


async def main():
    with it.root():
        async with Client(server) as client:
            await client.list_tools()
            print(await client.call_tool("lookup_order", {"order_id": "1042"}))
            print(await client.call_tool("issue_refund", {"order_id": "1042", "amount": 59.9}))
            await client.read_resource("orders://1042")
            try:
                await client.call_tool("nope", {})
            except Exception as error:
                print("as it should be:", error)


asyncio.run(main())
provider.shutdown()
