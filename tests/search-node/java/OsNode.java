import java.util.concurrent.CountDownLatch;
import org.codelibs.opensearch.runner.OpenSearchRunner;

/** One OpenSearch node: FOLDER PORT [NAME=VALUE]... */
public class OsNode {
    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[1]);
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.setMaxHttpPort(65535);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                runner.close();
            } catch (Throwable t) {
                t.printStackTrace();
            }
        }));
        try {
            runner.onBuild((number, settings) -> {
                for (int i = 2; i < args.length; i++) {
                    int eq = args[i].indexOf('=');
                    settings.put(args[i].substring(0, eq), args[i].substring(eq + 1));
                }
            }).build(OpenSearchRunner.newConfigs().basePath(args[0]).numOfNode(1).baseHttpPort(port - 1)
                .clusterName("search-node").useLogger());
        } catch (Throwable t) {
            t.printStackTrace();
            System.exit(1);
        }
        new CountDownLatch(1).await();
    }
}
