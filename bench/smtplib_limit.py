"""The measure for speed: smtplib sending bytes that lie ready, over connections that stay open, and nothing else.

`python -m bench.smtplib_limit PORT FOLDER CONNECTIONS COUNT` sends COUNT mails, the files of FOLDER in turn, over so
many connections, each with a thread of its own, and prints one JSON object: seconds and CPU seconds from the first mail
to the last reply, without start and connecting.
"""

from __future__ import annotations

import json
import re
import smtplib
import sys
import threading
import time
from pathlib import Path

_TO = re.compile(rb"^To: (\S+)\r$", re.MULTILINE)
_FROM = re.compile(rb"^From:[^<]*<([^>]+)>\r$", re.MULTILINE)

Ready = tuple[str, str, bytes]


def read(folder: Path) -> list[Ready]:
    """Return sender, recipient and bytes of every mail in the folder."""
    mails = []
    for path in sorted(folder.glob("*.eml")):
        data = path.read_bytes()
        ((sender,), (to,)) = _FROM.findall(data), _TO.findall(data)
        mails.append((sender.decode(), to.decode(), data))
    return mails


def send(port: int, mails: list[Ready], start: threading.Barrier) -> None:
    """Send these mails over one connection, one after another."""
    client = smtplib.SMTP("127.0.0.1", port)
    client.ehlo()
    start.wait()
    for sender, to, data in mails:
        client.sendmail(sender, [to], data)
    start.wait()
    client.quit()


def main() -> None:
    """Measure once."""
    port, folder, connections, count = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    ready = read(folder)
    work = [ready[n % len(ready)] for n in range(count)]
    start = threading.Barrier(connections + 1)
    threads = [
        threading.Thread(target=send, args=(port, work[n::connections], start)) for n in range(connections)
    ]
    for thread in threads:
        thread.start()
    start.wait()
    began, cpu = time.monotonic(), time.process_time()
    start.wait()
    result = {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu, "mails": count}
    for thread in threads:
        thread.join()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
