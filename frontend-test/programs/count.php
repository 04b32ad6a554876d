<?php
// Counts in a file beside it, as user www-data, and answers with the count.
$file = fopen(__DIR__ . '/count', 'r+');
flock($file, LOCK_EX);
$count = (int) fgets($file) + 1;
rewind($file);
fwrite($file, (string) $count);
fclose($file);
header('Content-Type: text/plain');
header('Content-Length: ' . strlen((string) $count));
echo $count;
