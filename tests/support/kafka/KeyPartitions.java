import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** Where Kafka's own client puts keys: a key in hex on each line, a partition on each line. */
public class KeyPartitions {
    public static void main(String[] arguments) throws IOException {
        int partitions = Integer.parseInt(arguments[0]);
        BufferedReader keys = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder found = new StringBuilder();
        for (String key = keys.readLine(); key != null; key = keys.readLine()) {
            byte[] bytes = HexFormat.of().parseHex(key);
            found.append(BuiltInPartitioner.partitionForKey(bytes, partitions)).append('\n');
        }
        System.out.print(found);
    }
}
